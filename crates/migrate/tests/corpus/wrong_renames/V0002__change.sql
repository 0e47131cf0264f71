alter table users rename column name to full_name;
alter table users rename to accounts;
alter type mood rename value 'ok' to 'fine';
