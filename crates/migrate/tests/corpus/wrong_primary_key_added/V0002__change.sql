alter table logs add primary key (day, line);
