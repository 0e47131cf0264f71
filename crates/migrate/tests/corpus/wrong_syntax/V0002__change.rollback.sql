alter tabel users drop column x;
