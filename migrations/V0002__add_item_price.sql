-- Expand: a constant default adds the column without rewriting the table, and the version before this one need not know it.
alter table items add column price_cents integer not null default 0 check (price_cents >= 0);
