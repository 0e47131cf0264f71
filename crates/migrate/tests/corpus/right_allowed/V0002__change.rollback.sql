drop index users_email;
alter table users add column name varchar(50);
