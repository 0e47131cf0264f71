drop table notes;
drop table logs;
