alter table notes drop column id;
