alter table users alter column name type varchar(100);
alter table users alter column name type text;
alter table users alter column amount type numeric(12, 2);
