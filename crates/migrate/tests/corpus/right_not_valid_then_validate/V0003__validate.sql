alter table users validate constraint email_is_one;
