drop index users_email;
alter table users alter email drop not null;
