alter table users add column status text default 'new', add column name varchar(50);
