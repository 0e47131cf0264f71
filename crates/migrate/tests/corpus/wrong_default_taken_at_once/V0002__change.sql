alter table users add column kind text not null default 'person';
alter table users alter column kind drop default;
