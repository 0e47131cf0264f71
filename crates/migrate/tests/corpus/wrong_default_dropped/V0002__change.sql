alter table users alter column status drop default;
