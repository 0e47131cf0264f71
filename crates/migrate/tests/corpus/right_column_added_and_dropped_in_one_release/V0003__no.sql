alter table users drop column x;
