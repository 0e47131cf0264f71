-- migrate: phase contract
alter table users drop column name;
