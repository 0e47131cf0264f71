alter table orders drop column buyer;
