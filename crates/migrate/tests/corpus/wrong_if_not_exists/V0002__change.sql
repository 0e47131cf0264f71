-- migrate: no-transaction
create unique index concurrently if not exists users_email on users (email);
