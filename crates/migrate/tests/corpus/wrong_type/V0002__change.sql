alter table users alter column name type int using name::int;
alter table users alter column email type varchar(10);
