FROM base
CMD [ "a", "b c" ,"d\"e" ]
