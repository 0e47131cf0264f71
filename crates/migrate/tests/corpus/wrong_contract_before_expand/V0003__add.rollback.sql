alter table users drop column a;
