create index users_email on users (email);
alter table users rename column name to full_name;
alter table users drop column status;
alter table users add column kind text not null;
