alter table users add column key uuid not null default gen_random_uuid();
