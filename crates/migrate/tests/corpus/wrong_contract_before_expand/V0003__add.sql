-- more
alter table users add column a int;
