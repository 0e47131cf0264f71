create index users_email on users (email);
alter table users add constraint named check (name <> '');
