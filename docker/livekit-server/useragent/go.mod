module github.com/ua-parser/uap-go

go 1.21
