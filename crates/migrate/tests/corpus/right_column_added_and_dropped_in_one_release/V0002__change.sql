alter table users add column x int;
