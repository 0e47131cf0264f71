alter table users
    drop column name,
    drop column status;
