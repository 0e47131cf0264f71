alter table users add column kind text;
update users set kind = 'person';
alter table users alter column kind set not null;
