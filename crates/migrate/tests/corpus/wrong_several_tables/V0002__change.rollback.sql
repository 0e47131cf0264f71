alter table orders drop column a;
alter table users drop column a;
