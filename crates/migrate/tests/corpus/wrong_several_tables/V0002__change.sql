alter table users add column a int;
alter table orders add column a int;
