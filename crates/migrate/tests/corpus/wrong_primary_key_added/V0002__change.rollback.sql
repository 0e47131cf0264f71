alter table logs drop constraint logs_pkey, alter day drop not null, alter line drop not null;
