alter table users drop column lower_email;
