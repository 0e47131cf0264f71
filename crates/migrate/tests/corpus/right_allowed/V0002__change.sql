-- migrate: allow ban-drop-column nothing has read it for a year
alter table users drop column name;
-- migrate: allow require-concurrent-index-creation the table is locked at night anyway
create index users_email on users (email);
