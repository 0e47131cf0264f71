alter table users alter email set not null;
create index users_email on users (email);
