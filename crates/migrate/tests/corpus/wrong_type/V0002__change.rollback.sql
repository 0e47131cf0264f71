alter table users alter column email type text;
alter table users alter column name type varchar(50);
