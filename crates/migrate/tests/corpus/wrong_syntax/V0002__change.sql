alter table users add colum x int;
alter table users drop column name;
