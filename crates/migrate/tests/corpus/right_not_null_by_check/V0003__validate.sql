alter table users validate constraint name_given;
alter table users alter column name set not null;
alter table users drop constraint name_given;
