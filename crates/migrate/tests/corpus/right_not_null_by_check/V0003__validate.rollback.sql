alter table users add constraint name_given check (name is not null) not valid;
alter table users alter column name drop not null;
