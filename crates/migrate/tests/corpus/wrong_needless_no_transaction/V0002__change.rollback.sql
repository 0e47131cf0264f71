alter table users drop column b, drop column a;
