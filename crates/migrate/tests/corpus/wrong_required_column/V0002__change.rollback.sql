alter table users drop column kind;
