alter table users add column kind text not null;
