alter table users drop column key;
