create table logs (day date, line int);
create table notes (note text);
