alter table orders add column buyer bigint references users (id);
