alter table users drop constraint named;
drop index users_email;
