"""The sheets `<class>.metadata.xlsx` or `.csv`: what they say of which radiograph."""
