package attest

// VendorName is for the test of how makers are shown.
var VendorName = vendorName
