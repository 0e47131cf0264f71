-- migrate: no-transaction
alter table users add column a int;
alter table users add column b int;
