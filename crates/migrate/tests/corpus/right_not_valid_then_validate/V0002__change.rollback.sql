alter table users drop constraint email_is_one;
