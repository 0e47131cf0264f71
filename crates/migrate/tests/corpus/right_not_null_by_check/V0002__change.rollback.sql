alter table users drop constraint name_given;
