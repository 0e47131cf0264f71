alter type mood rename value 'fine' to 'ok';
alter table accounts rename to users;
alter table users rename column full_name to name;
