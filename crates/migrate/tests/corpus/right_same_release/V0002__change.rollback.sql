alter table users drop column kind;
alter table users add column status text;
alter table users rename column full_name to name;
drop index users_email;
