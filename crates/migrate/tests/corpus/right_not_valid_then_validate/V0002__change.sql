alter table users add constraint email_is_one check (email like '%@%') not valid;
